"""HTTP: the container contract, Multi Model Server's inference and management APIs."""
