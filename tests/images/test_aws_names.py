"""The addresses that `sagemaker.image_uris.retrieve` gives, and what they mean here."""

from __future__ import annotations

import pytest

from modelplex.images import aws_names
from modelplex.images.aws_names import EcrName


@pytest.mark.parametrize(
    ("image", "builtin"),
    [  # as sagemaker 2.257 gives them
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1", "sklearn"),
        (
            "246618743249.dkr.ecr.us-west-2.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3",
            "sklearn",
        ),
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1", "xgboost"),
        ("811284229777.dkr.ecr.us-east-1.amazonaws.com/xgboost:1", "xgboost"),
        (
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6.0-cpu-py312",
            "pytorch",
        ),
        ("520713654638.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-pytorch:1.0-cpu-py3", "pytorch"),
        ("763104351884.dkr.ecr.us-west-2.amazonaws.com/mxnet-inference:1.9.0-cpu-py38", "mxnet"),
        ("727897471807.dkr.ecr.cn-north-1.amazonaws.com.cn/mxnet-inference:1.9.0", "mxnet"),
        ("763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6.0-cpu-py312", None),
    ],
)
def test_framework_images(image: str, builtin: str | None) -> None:
    """Found by their repository, whatever the account, region and tag."""
    name = aws_names.parse(image)
    assert name is not None
    assert aws_names.builtin_of(name) == builtin


def test_an_address_has_an_account_and_a_repository() -> None:
    """With a tag, a digest, or neither; other names are none of ECR's."""
    host = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
    for mark in ("", ":latest", "@sha256:" + "0" * 64):
        assert aws_names.parse(f"{host}/team/demo{mark}") == EcrName("123456789012", "team/demo")
    for other in ("demo", "ghcr.io/team/demo", f"{host}.example.com"):
        assert aws_names.parse(other) is None
