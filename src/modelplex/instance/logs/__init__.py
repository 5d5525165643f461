"""What happened: told as events, as log lines, as the log of facts and orders."""
