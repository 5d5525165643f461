"""What is written down: five logs in Multi Model Server's formats, and counters."""
