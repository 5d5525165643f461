"""CloudWatch Logs is asked through control, as clients do."""

from tests.control.conftest import w

__all__ = ["w"]
