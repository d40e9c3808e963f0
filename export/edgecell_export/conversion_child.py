"""The process that converts: ``python -m edgecell_export.conversion_child DESCRIPTOR [warm]``.

``ConversionProcess`` starts it and talks to it through the socket of that number.
"""

import contextlib
import os
import pickle
import queue
import sys
import threading
import traceback
from multiprocessing.connection import Connection

from edgecell_export.conversion_process import Converted, ConvertHere
from edgecell_export.output_capture import print_to
from edgecell_export.tensorflow import import_keras, import_tensorflow
from edgecell_runtime.errors import ConversionError, EdgecellError


def main() -> None:
    """Converts until the other process closes the connection or dies."""
    channel: Connection = Connection(int(sys.argv[1]))
    print_to(os.fdopen(os.dup(1), "r+b", buffering=0))
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(channel, requests), daemon=True).start()
    if "warm" in sys.argv:
        with contextlib.suppress(Exception):  # the conversion that needs them says it
            import_tensorflow()
            import_keras()
    while True:
        channel.send_bytes(pickle.dumps(_answer(requests.get()), protocol=5))


def _listen(channel: Connection, requests: "queue.SimpleQueue[bytes]") -> None:
    """Passes requests on; ends this process, in the middle of a conversion too, with the other."""
    while True:
        try:
            requests.put(channel.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)


def _answer(request: bytes) -> Converted | EdgecellError | OSError:
    try:
        form, conversion, path = pickle.loads(request)
        return ConvertHere().run(form, conversion, path)
    except EdgecellError as error:
        return _noted(error, error)
    except OSError as error:
        return OSError(error.errno, error.strerror) if error.errno else OSError(str(error))
    except Exception as error:  # noqa: BLE001 - what it was given can fail in any way
        message = f"The process that converts could not read what it was given: {error!r}."
        return _noted(ConversionError(message), error)


def _noted(answer: EdgecellError, cause: Exception) -> EdgecellError:
    """The traceback, which stays in this process, as a note for who debugs the other one."""
    lines = traceback.format_exception(cause)
    answer.add_note("In the process that converts:\n" + "".join(lines))
    return answer


if __name__ == "__main__":
    main()
