"""Keep containers: Amazon ECR's names, tokens and operations over a registry on this machine."""
