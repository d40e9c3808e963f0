"""How many parameters each preset has, so that a list of them needs no Keras."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Parameters:
    """Of a preset at its published size, with 2 labels, ``mnist-cnn`` with 10.

    Attributes:
        total: All of them, the averages of BatchNormalization included.
        trainable: Those that the optimiser moves.
    """

    total: int
    trainable: int


PARAMETERS: Final[dict[str, Parameters]] = {
    "malaria-cnn": Parameters(4_340_130, 4_338_466),
    "malaria-gap": Parameters(423_490, 422_530),
    "cell-nano": Parameters(2_910, 2_834),
    "cell-micro": Parameters(21_258, 21_026),
    "cell-small": Parameters(86_954, 86_490),
    "mnist-cnn": Parameters(693_962, 693_962),
    "cnn-128": Parameters(17_069_825, 17_069_825),
    "cnn-128-regularised": Parameters(17_069_825, 17_069_825),
    "cnn-3d": Parameters(270_476_801, 270_476_801),
    "logistic": Parameters(12_289, 12_289),
    "mlp": Parameters(1_573_121, 1_573_121),
}
