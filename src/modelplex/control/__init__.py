"""Keep promises: SageMaker's operations, the records, the reconciler."""
