"""Device, precision, ranks, seeds, memory, checkpoints, signals, progress, workers: all that depends on the machine."""

from .engine import PRECISIONS, Engine, LostRank, OutOfMemory, compile_once, engine, step_only
from .files import (FORMAT, check_same, check_target, check_writable, digest, load_checkpoint, lock, read_checkpoint,
                    save_checkpoint, to_json, write_all, write_atomically)
from .graph import Graphed
from .half import HalfWeights
from .machine import (TABLES, default_root, describe, device, free_memory, generator, is_out_of_memory, peak_memory,
                      processor, reset_peak_memory, saved_bytes, seed, threads)
from .pool import pool
from .progress import Progress, Stopped, clock, silently, stop_flag
from .tables import Rows, read_table, refusing, write_table
from .upload import Ahead, upload
from .transfer import Later, fetch, send
from .weights import fill, load_weights, read_weights
