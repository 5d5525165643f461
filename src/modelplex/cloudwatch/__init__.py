"""Tell: what handlers wrote, read from the log folders and told in CloudWatch Logs' words."""
