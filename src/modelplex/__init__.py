"""modelplex: many models, one endpoint."""

__version__ = "0.1.0"
