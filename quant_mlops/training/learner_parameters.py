"""Parameters of the built-in learners, typed: what a strategy file may say of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Integer = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[Number, Field(gt=0, le=1)]
Chance = Annotated[Number, Field(ge=0, le=1)]
Size = Annotated[Number, Field(ge=0)]
Flag = Annotated[bool, Field(strict=True)]


class LearnerParameters(BaseModel):
    """Parameters of one learner. They are checked by this and handed on as they were written."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RidgeParameters(LearnerParameters):
    """Penalties to choose from on the validation split."""

    penalties: list[Size] = Field(default=[1.0], min_length=1)


class XgboostParameters(LearnerParameters):
    """Rounds and patience, and the parameters that XGBoost has for trees.

    Those that decide whether two fits are the same (`tree_method`, `seed`, `nthread`) are fixed
    elsewhere, and no parameters here. What XGBoost takes in several forms is left to it.
    """

    rounds: Annotated[Integer, Field(gt=0)] = 300
    patience: Annotated[Integer, Field(gt=0)] = 30

    eta: Share = 0.3
    learning_rate: Share = 0.3
    max_depth: Annotated[Integer, Field(ge=0)] = 6
    min_child_weight: Size = 1
    min_split_loss: Size = 0
    gamma: Size = 0
    max_delta_step: Size = 0
    subsample: Share = 1
    sampling_method: Literal["uniform", "gradient_based"] = "uniform"
    colsample_bytree: Share = 1
    colsample_bylevel: Share = 1
    colsample_bynode: Share = 1
    reg_lambda: Size = 1
    l2: Size = Field(default=1, alias="lambda")
    reg_alpha: Size = 0
    alpha: Size = 0
    scale_pos_weight: Size = 1
    grow_policy: Literal["depthwise", "lossguide"] = "depthwise"
    max_leaves: Annotated[Integer, Field(ge=0)] = 0
    max_bin: Annotated[Integer, Field(ge=2)] = 256
    num_parallel_tree: Annotated[Integer, Field(gt=0)] = 1
    max_cached_hist_node: Annotated[Integer, Field(gt=0)] = 65_536
    seed_per_iteration: Flag = False
    monotone_constraints: Any = None
    interaction_constraints: Any = None

    objective: Annotated[str, Field(strict=True)] = "reg:squarederror"
    eval_metric: Any = None
    disable_default_eval_metric: Any = None
    base_score: Number = 0.5
    huber_slope: Number = 1
    quantile_alpha: Any = None
    tweedie_variance_power: Number = 1.5

    booster: Literal["gbtree", "dart"] = "gbtree"
    sample_type: Literal["uniform", "weighted"] = "uniform"
    normalize_type: Literal["tree", "forest"] = "tree"
    rate_drop: Chance = 0
    one_drop: Any = None
    skip_drop: Chance = 0

    device: Annotated[str, Field(strict=True)] = "cpu"
    validate_parameters: Flag = True


PARAMETERS: Mapping[str, type[LearnerParameters]] = {
    "ridge": RidgeParameters,
    "xgboost": XgboostParameters,
}
