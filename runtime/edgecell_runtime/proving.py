"""Choosing an engine: the first of the written order that gives the artifact's golden answers."""

import contextlib
import sys

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.artifact import Artifact
from edgecell_runtime.engines import Engine, Session, engines_for
from edgecell_runtime.errors import EdgecellError, EngineError, ManifestError, MissingPartError
from edgecell_runtime.golden import golden_inputs
from edgecell_runtime.inference import Inference
from edgecell_runtime.manifest import Golden, Manifest
from edgecell_runtime.records import dataclass
from edgecell_runtime.session_pool import SessionPool

_DEPENDS_ON_BATCH = "dynamic_int8"
"""Its ranges are those of all images that are run together, so that only single ones compare."""

_OLD_DIFFERENCE = 1e-3
"""Of a probability, where a float32 artifact carries its source model's answers alone."""


@dataclass(frozen=True)
class EngineTrial:
    """How an engine did.

    Attributes:
        engine: Its name.
        version: Of its library; empty where it is not installed or does not say.
        accepted: Whether it decides.
        reason: Why, or why not.
    """

    engine: str
    version: str
    accepted: bool
    reason: str


@dataclass(frozen=True)
class ProvedEngine:
    """An engine that may decide.

    Attributes:
        name: Its name.
        sessions: The model, loaded.
        report: The engines that were tried, the accepted one last.
    """

    name: str
    sessions: SessionPool
    report: tuple[EngineTrial, ...]


def open_proved(
    artifact: Artifact, engine: str | None, *, threads: int, sessions: int
) -> ProvedEngine:
    """Opens an artifact with the first engine that proves itself.

    Args:
        artifact: As it was read.
        engine: The only one to try; None tries all that run the format.
        threads: Of each session.
        sessions: How many.

    Raises:
        EngineError: None was accepted; with each one's reason.
        ManifestError: The graph is not the one that the manifest describes.
        MissingPartError: No library is installed that runs the format.
    """
    trials: list[EngineTrial] = []
    errors: list[EdgecellError] = []
    for candidate in engines_for(artifact.format, engine):
        opened: list[Session] = []
        try:
            reason = _proof(candidate, artifact, (threads, sessions), opened)
        except EdgecellError as error:
            _close(opened)
            trials.append(EngineTrial(candidate.name, _version(candidate), False, str(error)))
            errors.append(error)
        except BaseException:
            _close(opened)
            raise
        else:
            trials.append(EngineTrial(candidate.name, _version(candidate), True, reason))
            return ProvedEngine(candidate.name, SessionPool(opened), tuple(trials))
    raise _refusal(errors, trials)


def golden_outputs(inference: Inference, inputs: NDArray[np.uint8]) -> NDArray[np.generic]:
    """What a graph answers to golden inputs, one at a time.

    Returns:
        (inputs, outputs), as ``Inference.outputs`` gives them.
    """
    return np.concatenate([inference.outputs(image[np.newaxis]) for image in inputs])


def prove(session: Session, manifest: Manifest) -> str:
    """Holds a session against the artifact's golden answers.

    Returns:
        How near it came, or why nothing could be shown.

    Raises:
        EngineError: It answers differently.
        ManifestError: It runs another graph than the manifest describes.
    """
    inference, golden = Inference(session, manifest), manifest.golden
    if golden.outputs:
        expected = np.array(golden.outputs)
    elif golden.probabilities and manifest.recipe == "float32":
        expected = np.array(golden.probabilities)
    else:
        return "not proved: the artifact carries no golden answers of its own; export it again"
    inputs = golden_inputs(golden.formula, manifest.preprocessing.shape)
    if len(inputs) != len(expected):
        raise ManifestError(
            f"The manifest carries {len(expected)} golden answers; the formula {golden.formula} "
            f"has {len(inputs)} inputs."
        )
    reason = _compare(golden_outputs(inference, inputs), expected, manifest)
    takes_any_batch = session.signature.inputs[0].shape[0] is None
    if takes_any_batch and manifest.recipe != _DEPENDS_ON_BATCH:
        _compare(inference.outputs(inputs), expected, manifest)
    return reason


def _compare(found: NDArray[np.generic], expected: NDArray[np.float64], manifest: Manifest) -> str:
    golden = manifest.golden
    if not golden.outputs:
        return _compare_probabilities(_probabilities(found, manifest), expected, _OLD_DIFFERENCE)
    if found.shape != expected.shape:
        raise EngineError(
            f"The artifact carries golden answers of the shape {expected.shape}; expected "
            f"{found.shape}."
        )
    if manifest.signature.outputs[0].quantization is not None:
        return _compare_steps(found, expected, golden)
    return _compare_probabilities(
        _probabilities(found, manifest),
        _probabilities(expected, manifest),
        golden.allowed_difference,
    )


def _proof(
    engine: Engine, artifact: Artifact, threads_and_sessions: tuple[int, int], opened: list[Session]
) -> str:
    """Opens sessions, into ``opened``, and proves each."""
    threads, sessions = threads_and_sessions
    try:
        for _ in range(sessions):
            opened.append(engine.open(artifact.data, threads))
            reason = prove(opened[-1], artifact.manifest)
    except EdgecellError:
        raise
    except Exception as error:  # what others registered raises of every kind
        raise EngineError(f"The engine {engine.name} failed: {error!r}") from error
    return reason


def _compare_steps(
    found: NDArray[np.generic], expected: NDArray[np.float64], golden: Golden
) -> str:
    apart = float(np.abs(found.astype(np.float64) - expected).max())
    if not apart <= golden.allowed_steps:
        raise EngineError(
            "The engine does not give the artifact's golden answers: an output is "
            f"{apart:g} steps away; at most {golden.allowed_steps} are allowed."
        )
    return f"proved: golden answers within {apart:g} of {golden.allowed_steps} steps allowed"


def _compare_probabilities(
    found: NDArray[np.float64], expected: NDArray[np.float64], allowed: float
) -> str:
    apart = float(np.abs(found - expected).max())
    if not apart <= allowed:  # so that no number is refused too
        raise EngineError(
            "The engine does not give the artifact's golden answers: a probability differs by "
            f"{apart:.2g}; at most {allowed:.2g} is allowed."
        )
    return f"proved: golden answers within {apart:.1e} of {allowed:.1e} allowed"


def _probabilities(outputs: NDArray[np.generic], manifest: Manifest) -> NDArray[np.float64]:
    return manifest.head.probabilities(
        outputs.astype(np.float64), manifest.labels, manifest.temperature
    )


def _refusal(errors: list[EdgecellError], trials: list[EngineTrial]) -> EdgecellError:
    """What to say where no engine was accepted: of those that are installed, if any is."""
    tried = [error for error in errors if not isinstance(error, MissingPartError)]
    if len(tried) <= 1 or all(isinstance(error, ManifestError) for error in tried):
        return (tried or errors)[0]
    reasons = " ".join(f"{trial.engine}: {trial.reason}" for trial in trials)
    return EngineError(f"No engine was accepted. {reasons}")


def _close(sessions: list[Session]) -> None:
    for session in sessions:
        with contextlib.suppress(Exception):  # what was passed over has no say any more
            session.close()


def _version(engine: Engine) -> str:
    package = sys.modules.get(engine.module.partition(".")[0])
    return str(getattr(package, "__version__", ""))
