"""Trains the demo's classifiers and packs them as the notebook packs its models.

    python train.py FOLDER

Runs in an environment with the image's requirements (the demo uses the image's own, so that
training and serving agree to the byte). The data is scikit-learn's bundled digits: 1,797 scans of
handwriting. FOLDER gets `models/` (two archives, and ten in `demo-subfolder/`), `later/` (one that
is added to the running endpoint and one retrained under a new name), and `pictures/` with
`labels.json`: scans that no classifier has seen, and what they show.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import warnings
from pathlib import Path

import joblib
import numpy as np
from PIL import Image
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

SEED = 7
FIRST_SCANS = 150  # what the first logistic regression has to do with; its second version has all
PICTURES = 200
SIDE = 64  # of a picture, in pixels: large enough for an eye, and a multiple of 8


def logistic_regression() -> ClassifierMixin:
    """Scaled first: 300 rounds are then enough for it to converge."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))


MODELS = {
    "logistic_regression": logistic_regression(),
    "random_forest": RandomForestClassifier(random_state=SEED),
    "demo-subfolder/ada_boost": AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=6), n_estimators=40, random_state=SEED
    ),
    "demo-subfolder/decision_tree": DecisionTreeClassifier(random_state=SEED),
    "demo-subfolder/extra_trees": ExtraTreesClassifier(random_state=SEED),
    "demo-subfolder/gaussian_nb": GaussianNB(var_smoothing=0.01),
    "demo-subfolder/gradient_boosting": GradientBoostingClassifier(
        n_estimators=30, random_state=SEED
    ),
    "demo-subfolder/k_neighbours": KNeighborsClassifier(3),
    "demo-subfolder/linear_discriminant": LinearDiscriminantAnalysis(),
    "demo-subfolder/mlp": make_pipeline(
        StandardScaler(), MLPClassifier((64,), max_iter=400, random_state=SEED)
    ),
    "demo-subfolder/perceptron": SGDClassifier(loss="perceptron", random_state=SEED),
    "demo-subfolder/svc": SVC(),
}
ADDED_LATER = VotingClassifier(
    [("ridge", RidgeClassifier()), ("svc", SVC()), ("trees", ExtraTreesClassifier(random_state=1))]
)

Data = tuple[np.ndarray, np.ndarray]


def train(classifier: ClassifierMixin, name: str, seen: Data, unseen: Data, out: Path) -> None:
    """Fit one classifier and write it to `out`/`name`.tar.gz, with what is known about it."""
    classifier.fit(*seen)
    accuracy = round(float(classifier.score(*unseen)), 4)
    about = {"name": name, "trained_on": len(seen[0]), "accuracy": accuracy}
    weights = io.BytesIO()
    joblib.dump(classifier, weights, compress=3)
    path = out / f"{name}.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    pack(path, {"model.joblib": weights.getvalue(), "model.json": json.dumps(about).encode()})
    print(f"{name}: {accuracy:.1%} of {len(unseen[0])} unseen scans right", flush=True)


def pack(path: Path, files: dict[str, bytes]) -> None:
    """A `.tar.gz` with everything at its top, as `tar.add(folder, arcname='.')` makes it."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def write_pictures(points: np.ndarray, labels: np.ndarray, out: Path) -> None:
    """The scans as PNG files of 64 x 64 grey pixels, and `labels.json`: file name -> digit."""
    out.mkdir(parents=True, exist_ok=True)
    answers = {}
    for number, (row, label) in enumerate(zip(points, labels, strict=True)):
        grey = np.rint(row.reshape(8, 8) * 255 / 16).astype(np.uint8)
        name = f"{number:03}.png"
        picture = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        picture.save(out / name)
        answers[name] = int(label)
    (out / "labels.json").write_text(json.dumps(answers))


def main() -> None:
    """Train all; the last file written is `done`, so that a half-made folder is known as one."""
    out = Path(sys.argv[1])
    points, labels = load_digits(return_X_y=True)
    split = train_test_split(points, labels, test_size=0.3, random_state=SEED, stratify=labels)
    seen, unseen = (split[0], split[2]), (split[1], split[3])
    first = (seen[0][:FIRST_SCANS], seen[1][:FIRST_SCANS])
    for name, classifier in MODELS.items():
        used = first if name == "logistic_regression" else seen
        train(classifier, name, used, unseen, out / "models")
    train(logistic_regression(), "logistic_regression_v2", seen, unseen, out / "later")
    train(ADDED_LATER, "demo-subfolder/voting", seen, unseen, out / "later")
    write_pictures(unseen[0][:PICTURES], unseen[1][:PICTURES], out / "pictures")
    (out / "done").touch()


if __name__ == "__main__":
    warnings.simplefilter("error")  # a classifier that did not converge is not one to show
    main()
