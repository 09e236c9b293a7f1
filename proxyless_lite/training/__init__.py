"""Training of compact networks, and what searches share with it: the loop, the step, evaluation, advice on memory."""

from .evaluation import cross_entropy, evaluate
from .several import train_all
from .step import Step, batch_loss
from .train import Report, Training, parameter_groups, train
