"""SageMaker's inference toolkit anew: standard library only, Python 3.8 or newer, in any image."""
