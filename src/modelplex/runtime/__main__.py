"""Starts the zygote: `<image python> .../runtime/__main__.py CONTROL_FD LIFELINE_FD`.

The image's interpreter must find only the image's own packages, so this folder is made importable
as `modelplex.runtime` without touching `sys.path`, and the folder beside it as `modelplex.toolkit`,
for handlers. Nothing else of the platform is.
"""

import os
import sys
from types import ModuleType


def bootstrap() -> None:
    """Makes `import modelplex.runtime.x` and `import modelplex.toolkit.x` work, and takes this
    folder off the search path."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != here]
    package = ModuleType("modelplex")
    package.__path__ = []
    sys.modules["modelplex"] = package
    for name in ("runtime", "toolkit"):
        module = ModuleType("modelplex." + name)
        module.__path__ = [os.path.join(os.path.dirname(here), name)]
        sys.modules[module.__name__] = module
        setattr(package, name, module)


if __name__ == "__main__":
    bootstrap()
    from modelplex.runtime import zygote

    zygote.main(int(sys.argv[1]), int(sys.argv[2]))
