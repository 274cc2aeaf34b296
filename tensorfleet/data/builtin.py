"""The datasets that come with the package, in facts: columns, rows and target.

The rule: these are the facts of scikit-learn's bundled files, word for word, so that a job on them can be checked where
there is no scikit-learn. Their rows are made in `generated.py`.
"""

from collections.abc import Mapping

from msgspec import Struct


class Facts(Struct, frozen=True):
    """What is known of a dataset without reading it.

    labels: rows by class, in the order of the classes 0, 1, …; empty for regression, where `distinct` counts the
    target's different values.
    """

    features: tuple[str, ...]
    rows: int
    labels: tuple[int, ...] = ()
    distinct: int | None = None
    about: str = ""


IRIS = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")

WINE = (
    "alcohol",
    "malic_acid",
    "ash",
    "alcalinity_of_ash",
    "magnesium",
    "total_phenols",
    "flavanoids",
    "nonflavanoid_phenols",
    "proanthocyanins",
    "color_intensity",
    "hue",
    "od280/od315_of_diluted_wines",
    "proline",
)

_CELLS = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)

BREAST_CANCER = (
    *(f"mean {figure}" for figure in _CELLS),
    *(f"{figure} error" for figure in _CELLS),
    *(f"worst {figure}" for figure in _CELLS),
)

DIGITS = tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))

DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")

CALIFORNIA = (
    "MedInc",
    "HouseAge",
    "AveRooms",
    "AveBedrms",
    "Population",
    "AveOccup",
    "Latitude",
    "Longitude",
)

BUILTIN: Mapping[str, Facts] = {
    "breast_cancer": Facts(BREAST_CANCER, 569, (212, 357), about="tumours, malignant (0) or benign (1)"),
    "california": Facts(CALIFORNIA, 20_640, about="made-up house prices that resemble California's"),
    "diabetes": Facts(DIABETES, 442, distinct=214, about="progression of the disease after a year"),
    "digits": Facts(
        DIGITS, 1797, (178, 182, 177, 183, 181, 182, 181, 179, 174, 180), about="handwritten digits, 8 x 8 pixels"
    ),
    "iris": Facts(IRIS, 150, (50, 50, 50), about="flowers of three species"),
    "wine": Facts(WINE, 178, (59, 71, 48), about="wines of three growers"),
}
