"""Training a generator from one configuration, able to continue after it was killed."""

from model.settings import TrainConfig, load_train_config
from model.training.progress import EpochReport, Validation
from model.training.run import refit, train

__all__ = ["EpochReport", "TrainConfig", "Validation", "load_train_config", "refit", "train"]
