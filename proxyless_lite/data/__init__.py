"""Data in batches: data sets by name, folders of images (in memory, packed on disk, or streamed), and your own datasets."""

from .datasets import digits_as_images, load
from .in_memory import InMemoryData, Split
from .module import DataModule, ImageData
from .own import from_datasets
from .packed import Packed
from .pixels import unreadable
from .sampling import shuffled
from .streaming import StreamingData
