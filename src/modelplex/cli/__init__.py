"""The modelplex command."""
