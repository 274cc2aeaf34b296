"""Parameters that several families share, as scikit-learn 1.9 declares them.

The rule: this is hand-written data, so that a spec can be validated without importing scikit-learn; a test compares it
with scikit-learn's own declarations.
"""

from tensorfleet.algorithms.parameters import (
    Choice,
    Flag,
    Integer,
    ListOf,
    MappingOf,
    Null,
    Parameter,
    Real,
    one_of,
)

POSITIVE = Real(0.0, open_low=True, open_high=True)
POSITIVE_OR_INFINITE = Real(0.0, open_low=True)
NOT_NEGATIVE = Real(0.0, open_high=True)
OPEN_FRACTION = Real(0.0, 1.0, open_low=True, open_high=True)
FRACTION = Real(0.0, 1.0, open_low=True)
FLAG = Flag()
NULL = Null()

N_ESTIMATORS = Parameter(Integer(1), 100)
MAX_DEPTH = Parameter(one_of(Integer(1), NULL), None)
MIN_SAMPLES_SPLIT = Parameter(one_of(Integer(2), FRACTION), 2)
MIN_SAMPLES_LEAF = Parameter(one_of(Integer(1), OPEN_FRACTION), 1)
MIN_WEIGHT_FRACTION_LEAF = Parameter(Real(0.0, 0.5), 0.0)
MAX_FEATURES = one_of(Integer(1), FRACTION, Choice(("sqrt", "log2")), NULL)
MAX_LEAF_NODES = Parameter(one_of(Integer(2), NULL), None)
MIN_IMPURITY_DECREASE = Parameter(NOT_NEGATIVE, 0.0)
CCP_ALPHA = Parameter(NOT_NEGATIVE, 0.0)
MONOTONIC_CST = Parameter(one_of(ListOf(Integer(-1, 1)), NULL), None)
CLASSIFIER_CRITERION = Parameter(Choice(("gini", "entropy", "log_loss")), "gini")
REGRESSOR_CRITERION = Parameter(Choice(("squared_error", "absolute_error", "poisson")), "squared_error")

WEIGHTS = MappingOf(NOT_NEGATIVE)
CLASS_WEIGHT = Parameter(one_of(Choice(("balanced",)), WEIGHTS, NULL), None)

N_JOBS = Parameter(one_of(Integer(high=-1), Integer(1), NULL), None)
RANDOM_STATE = Parameter(one_of(Integer(0, 2**32 - 1), NULL), 42)
VERBOSE = Parameter(one_of(Integer(0), FLAG), 0)
OFF = Parameter(FLAG, False)
ON = Parameter(FLAG, True)
