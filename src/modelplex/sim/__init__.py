"""Pretend: an invented world around the decisions of `core/`, with a heap for a clock."""
