"""A strategy's file is read into types, and what is wrong with it is named."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from quant_mlops.errors import StrategyError, UnknownFeatureError
from quant_mlops.settings import Settings
from quant_mlops.strategy import read_strategy
from quant_mlops.strategy_checks import check_strategy
from quant_mlops.strategy_files import load_strategies, read_strategies, strategies_folder
from quant_mlops.training.comparison import PromotionGate
from quant_mlops.training.walk_forward import WalkForwardSizes

GOOD = """
name = "mine"
horizon = 5
[prices]
file = "bundled:sample"
[features]
names = ["rsi_14", "ret_5d"]
[training]
window_sessions = 500
val_sessions = 60
test_sessions = 60
[[training.learners]]
name = "ridge"
params = { penalties = [0.1] }
[monitoring]
first_session = 2021-01-04
[portfolio]
cost_bps = 7.0
[rules]
ic_warning = 0.03
"""


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_the_bundled_strategies_load_and_their_features_exist(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    strategies = load_strategies(settings)
    assert set(strategies) == {p.stem for p in strategies_folder(settings).glob("*.toml")}
    for strategy in strategies.values():
        assert list(strategy.feature_versions) == list(strategy.features.names)
        assert strategy.trading_calendar.is_session(strategy.first_partition)
        assert strategy.first_partition < strategy.monitoring.first_session
        assert strategy.split_sizes.val_sessions < strategy.training.window_sessions
        assert strategy.learners
        assert len(strategy.alert_config.rules()) == 7


def test_a_file_becomes_what_the_domain_asks_for(tmp_path: Path) -> None:
    strategy = read_strategy(write(tmp_path, GOOD))
    assert strategy.feature_versions == {"rsi_14": 1, "ret_5d": 1}
    assert strategy.label.describe() == {
        "kind": "forward_return", "horizon": 5, "calendar": "XNYS",
    }  # fmt: skip
    assert strategy.first_partition == date(2020, 12, 31)
    assert strategy.evaluation_lag == timedelta(hours=4)
    assert strategy.availability_lag == timedelta(minutes=15)
    assert strategy.portfolio_rules.cost_per_turnover == pytest.approx(0.0007)
    assert strategy.evaluation.horizon == 5
    assert strategy.alert_config.ic_warning == 0.03
    assert strategy.promotion_gate.min_probability == 0.8
    (learner,) = strategy.learners
    assert (learner.name, learner.params, learner.seed) == ("ridge", {"penalties": [0.1]}, 7)
    assert strategy.model_name("ridge") == "mine_ridge"
    assert strategy.universe_name is None


def test_a_strategy_may_name_an_index_and_the_file_of_its_members(tmp_path: Path) -> None:
    strategy = read_strategy(write(tmp_path, f'{GOOD}[universe]\nname = "sp500"\n'))
    assert (strategy.universe_name, strategy.universe.file) == ("sp500", None)
    check_strategy(strategy)
    strategy = read_strategy(
        write(tmp_path, f'{GOOD}[universe]\nname = "sp500"\nfile = "absent.csv"\n')
    )
    with pytest.raises(StrategyError, match=r"universe\.file .*absent\.csv is not there"):
        check_strategy(strategy)


def test_learners_walk_forward_only_where_the_file_says_so(tmp_path: Path) -> None:
    assert read_strategy(write(tmp_path, GOOD)).folds is None
    walk = "[training.walk_forward]\nfolds = 3\ntest_sessions = 40\n"
    text = GOOD.replace("[[training", walk + "[[training", 1)
    assert read_strategy(write(tmp_path, text)).folds == WalkForwardSizes(60, 40, 3)
    text = text.replace("folds = 3", "folds = 3\nval_sessions = 20\ntrain_sessions = 200")
    text = text.replace("window_sessions", "embargo_sessions = 2\nwindow_sessions")
    assert read_strategy(write(tmp_path, text)).folds == WalkForwardSizes(20, 40, 3, 200, 2)
    text = text.replace("folds = 3", "folds = 3\nembargo_sessions = 0")
    assert read_strategy(write(tmp_path, text)).folds == WalkForwardSizes(20, 40, 3, 200, 0)
    with pytest.raises(StrategyError, match=r"training\.walk_forward\.fold: .*mean folds\?"):
        read_strategy(write(tmp_path, text.replace("folds = 3", "folds = 3\nfold = 2")))


def test_features_have_one_limit_of_age_and_some_their_own(tmp_path: Path) -> None:
    assert read_strategy(write(tmp_path, GOOD)).max_ages == {"rsi_14": 5, "ret_5d": 5}
    own = "max_age_sessions = 3\nmax_age_sessions_of = { ret_5d = 70 }\n[training]"
    strategy = read_strategy(write(tmp_path, GOOD.replace("[training]", own)))
    assert strategy.max_ages == {"rsi_14": 3, "ret_5d": 70}
    assert strategy.rare_features == {"ret_5d": 70}
    tighter = own.replace("= 70", "= 1")
    assert read_strategy(write(tmp_path, GOOD.replace("[training]", tighter))).rare_features == {}
    with pytest.raises(StrategyError, match=r"names does not hold vol_20d; correct one of them"):
        read_strategy(write(tmp_path, GOOD.replace("[training]", own.replace("ret_5d", "vol_20d"))))


def test_the_gate_asks_for_returns_only_where_the_file_says_so(tmp_path: Path) -> None:
    gate = read_strategy(write(tmp_path, GOOD)).promotion_gate
    assert gate == PromotionGate(60, 0.8, 0.0)
    text = f"{GOOD}[gate]\nmin_sessions = 30\nmin_return_probability = 0.6\n"
    assert read_strategy(write(tmp_path, text)).promotion_gate == PromotionGate(30, 0.8, 0.6)
    with pytest.raises(StrategyError, match=r"gate\.min_return_probability"):
        read_strategy(write(tmp_path, text.replace("= 0.6", "= 1.6")))


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ("horizon = 5", "horizon = 0", "horizon"),
        ("horizon = 5", 'horizon = "5"', "horizon"),
        ("horizon = 5", "horizon = true", "horizon"),
        ("horizon = 5", "horizon = 5.0", "horizon"),
        ("val_sessions = 60", 'val_sessions = 60\nseed = "7"', "training.seed"),
        (
            "val_sessions = 60",
            "val_sessions = 60\nmax_feature_ic = true",
            "training.max_feature_ic",
        ),
        ("2021-01-04", "2021-01-04\nic_horizons = [1, true]", "monitoring.ic_horizons.1"),
        ("cost_bps = 7.0", 'cost_bps = "7"', "portfolio.cost_bps"),
        ("[rules]", "[gate]\nmin_probability = inf\n[rules]", "gate.min_probability"),
        ("[0.1]", '["strong"]', "training.learners.0.params.penalties.0"),
        ("[0.1]", "[0.1, true]", "training.learners.0.params.penalties.1"),
        ("[0.1]", "[-0.1]", "training.learners.0.params.penalties.0"),
        ("[0.1]", "[]", "training.learners.0.params.penalties"),
        ("[0.1]", "0.1", "training.learners.0.params.penalties"),
        ("penalties", "penalty", "training.learners.0.params.penalty"),
        ("horizon = 5", "horizn = 5", "horizn"),
        ("horizon = 5", 'horizon = 5\nhorizn = "5"', "horizn"),
        ('name = "mine"', 'name = "Mine strategy"', "name"),
        ("val_sessions = 60", 'val_sessions = "many"', "training.val_sessions"),
        ('names = ["rsi_14", "ret_5d"]', "names = []", "features.names"),
        ("[training]", "max_age_sessions = -1\n[training]", "features.max_age_sessions"),
        ("[training]", "max_age_sessions = 1.5\n[training]", "features.max_age_sessions"),
        (
            "[training]",
            "max_age_sessions_of = { ret_5d = -1 }\n[training]",
            "features.max_age_sessions_of.ret_5d",
        ),
        (
            "[training]",
            "max_age_sessions_of = { vol_20d = 1 }\n[training]",
            "features.max_age_sessions_of",
        ),
        ("cost_bps = 7.0", "cost_bps = -1.0", "portfolio.cost_bps"),
        ("first_session = 2021-01-04", 'first_session = "soon"', "monitoring.first_session"),
        ("penalties = [0.1]", "penalties = [nan]", "training.learners.0.params"),
        ("penalties = [0.1]", "penalties = [-inf]", "training.learners.0.params"),
        ("penalties = [0.1]", "since = 2021-01-04", "training.learners.0.params"),
        ('name = "ridge"', 'name = "oracle"', "training.learners"),
        ("ic_warning = 0.03", "ic_warn = 0.03", "rules.ic_warn"),
        ("[rules]", '[universe]\nname = ""\n[rules]', "universe.name"),
        ("[rules]", "[rules]\nsharpe_warning = nan", "rules.sharpe_warning"),
        ("[rules]", "[rules]\nsharpe_warning = inf", "rules.sharpe_warning"),
        ("[rules]", "[rules]\nsharpe_warning = true", "rules.sharpe_warning"),
        ("[rules]", '[rules]\nsharpe_warning = "0.5"', "rules.sharpe_warning"),
        ("[rules]", '[universe]\nfile = "a.csv"\n[rules]', "universe.name"),
        ("[rules]", '[universe]\nindex = "sp500"\n[rules]', "universe.index"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(
    tmp_path: Path, before: str, after: str, key: str
) -> None:
    assert before in GOOD
    path = write(tmp_path, GOOD.replace(before, after, 1))
    with pytest.raises(StrategyError) as caught:
        read_strategy(path)
    message = str(caught.value)
    assert f"strategy file {path}, key {key}:" in message
    assert "\n" not in message


def test_a_file_that_is_no_toml_or_not_there_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "name = ")
    with pytest.raises(StrategyError, match=r"mine\.toml is not valid TOML"):
        read_strategy(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(StrategyError, match=r"mine\.toml is not valid TOML"):
        read_strategy(path)
    with pytest.raises(StrategyError, match=r"none\.toml cannot be read"):
        read_strategy(tmp_path / "none.toml")


def test_own_strategies_take_the_place_of_the_bundled_ones(tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    write(tmp_path / "strategies", GOOD)
    assert list(load_strategies(Settings(home=tmp_path))) == ["mine"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    settings = Settings(home=tmp_path, strategies=elsewhere)
    with pytest.raises(StrategyError, match="no strategy file"):
        load_strategies(settings)
    write(elsewhere, GOOD)
    write(elsewhere, GOOD, "again.toml")
    with pytest.raises(StrategyError, match=r"again\.toml and .*mine\.toml, key name: each names"):
        load_strategies(settings)


def test_a_wrong_file_is_told_beside_the_strategies_of_the_others(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, strategies=tmp_path)
    good = write(tmp_path, GOOD)
    wrong = write(tmp_path, GOOD.replace("horizon = 5", "horizon = 0"), "wrong.toml")
    found = read_strategies(settings)
    assert (list(found.strategies), found.files) == (["mine"], {"mine": good})
    (problem,) = found.problems
    assert problem.file == wrong
    assert problem.message.startswith(f"strategy file {wrong}, key horizon:")
    with pytest.raises(StrategyError, match=r"wrong\.toml, key horizon"):
        load_strategies(settings)


def test_files_that_share_a_name_are_all_refused_and_both_named(tmp_path: Path) -> None:
    files = [write(tmp_path, GOOD, name) for name in ("a.toml", "b.toml")]
    write(tmp_path, GOOD.replace('"mine"', '"other"'), "c.toml")
    found = read_strategies(Settings(home=tmp_path, strategies=tmp_path))
    assert list(found.strategies) == ["other"]
    assert [problem.file for problem in found.problems] == files
    for problem in found.problems:
        assert all(str(file) in problem.message for file in files)


def test_features_come_from_the_module_that_is_named(tmp_path: Path) -> None:
    absent = GOOD.replace("[features]", '[features]\nmodule = "no_such_module"')
    with pytest.raises(
        StrategyError, match=r"features\.module 'no_such_module' cannot be imported"
    ):
        _ = read_strategy(write(tmp_path, absent)).definitions
    unknown = read_strategy(write(tmp_path, GOOD.replace("rsi_14", "rsi_15")))
    with pytest.raises(UnknownFeatureError, match="rsi_15"):
        _ = unknown.definitions


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("horizon = 5\n", "", "key horizon: is missing; add it"),
        ("val_sessions = 60\n", "", "key training.val_sessions: is missing; add it"),
        ("horizon = 5", "horizn = 5", "key horizn: is no key of a strategy; did you mean horizon?"),
        (
            "val_sessions = 60",
            "vall_sessions = 60",
            "key training.vall_sessions: is no key of a strategy; did you mean val_sessions?",
        ),
        (
            "params = {",
            "parms = {",
            "key training.learners.0.parms: is no key of a strategy; did you mean params?",
        ),
        (
            "cost_bps = 7.0",
            "colour = 1",
            "key portfolio.colour: is no key of a strategy; there are min_names, cost_bps",
        ),
    ],
)
def test_a_key_that_is_missing_or_unknown_is_named_without_the_rest_of_the_file(
    tmp_path: Path, before: str, after: str, sentence: str
) -> None:
    assert before in GOOD
    path = write(tmp_path, GOOD.replace(before, after, 1))
    with pytest.raises(StrategyError) as caught:
        read_strategy(path)
    assert str(caught.value) == f"strategy file {path}, {sentence}"


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ("max_dept = 3", "max_dept: is no parameter of xgboost; did you mean max_depth?"),
        ("nthread = 8", "nthread: is no parameter of xgboost; there are rounds, patience, eta,"),
        ('max_depth = "deep"', "max_depth: input should be a valid integer, received 'deep'"),
        ("max_depth = true", "max_depth: input should be a valid integer, received True"),
        ("rounds = 0", "rounds: input should be greater than 0, received 0; correct it"),
        ("subsample = 1.5", "subsample: input should be less than or equal to 1, received 1.5"),
        ("lambda = -1", "lambda: input should be greater than or equal to 0, received -1"),
        ('booster = "gblinear"', "booster: input should be 'gbtree' or 'dart', received"),
    ],
)
def test_a_parameter_that_a_learner_does_not_have_or_take_is_named(
    tmp_path: Path, params: str, sentence: str
) -> None:
    learner = f'name = "xgboost"\nparams = {{ {params} }}\n[[training.learners]]\n'
    text = GOOD.replace("[[training.learners]]\n", f"[[training.learners]]\n{learner}")
    path = write(tmp_path, text)
    with pytest.raises(StrategyError) as caught:
        read_strategy(path)
    key = "key training.learners.0.params."
    assert str(caught.value).startswith(f"strategy file {path}, {key}{sentence}")


def test_parameters_are_handed_on_as_they_were_written(tmp_path: Path) -> None:
    params = "{ max_depth = 3, lambda = 2, eta = 1, eval_metric = ['mae', 'rmse'] }"
    text = GOOD.replace('"ridge"\nparams = { penalties = [0.1] }', f'"xgboost"\nparams = {params}')
    (learner,) = read_strategy(write(tmp_path, text)).learners
    assert learner.params == {
        "max_depth": 3, "lambda": 2, "eta": 1, "eval_metric": ["mae", "rmse"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("ic_critical = 0.04", "ic_critical: 0.04 is above rules.ic_warning, which is 0.03"),
        ("psi_critical = 0.05", "psi_critical: 0.05 is below rules.psi_warning, which is 0.1"),
        ("psi_warning = 0.5", "psi_critical: 0.25 is below rules.psi_warning, which is 0.5"),
        ("sharpe_critical = 1", "sharpe_critical: 1.0 is above rules.sharpe_warning, which is 0.5"),
        ("sharpe_warning = -1", "sharpe_critical: 0.0 is above rules.sharpe_warning, which is -1."),
    ],
)
def test_thresholds_in_the_wrong_order_are_named_with_both_keys_and_values(
    tmp_path: Path, lines: str, sentence: str
) -> None:
    path = write(tmp_path, f"{GOOD}{lines}\n")
    with pytest.raises(StrategyError) as caught:
        read_strategy(path)
    message = str(caught.value)
    assert message.startswith(f"strategy file {path}, key rules.{sentence}")
    assert message.endswith("so that the warning would come after it; correct one of them")


def test_a_warning_of_the_ic_below_the_pause_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("ic_warning = 0.03", "ic_warning = -0.01"))
    with pytest.raises(StrategyError, match=r"key rules\.ic_warning: -0\.01 is below 0\.0, where"):
        read_strategy(path)


def test_thresholds_may_be_equal_and_whole_numbers(tmp_path: Path) -> None:
    rules = "ic_critical = 0.03\npsi_warning = 1\npsi_critical = 1\nsharpe_warning = 0\n"
    config = read_strategy(write(tmp_path, GOOD + rules)).alert_config
    assert (config.ic_critical, config.psi_warning, config.sharpe_warning) == (0.03, 1.0, 0.0)


def test_a_long_value_is_cut_short(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace('name = "mine"', f'name = "{"X" * 500}"'))
    with pytest.raises(StrategyError) as caught:
        read_strategy(path)
    assert "X" * 70 in str(caught.value)
    assert "X" * 90 not in str(caught.value)


def test_a_strategy_that_can_run_passes_its_check(tmp_path: Path) -> None:
    check_strategy(read_strategy(write(tmp_path, GOOD)))
    (bundled,) = load_strategies(Settings(home=tmp_path)).values()
    check_strategy(bundled)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("horizon = 5", 'horizon = 5\ncalendar = "XXXX"', "no trading calendar named 'XXXX'"),
        ("2021-01-04", "1901-01-04", "1901-01-04 is not covered by the calendar"),
        ("[features]", '[features]\nmodule = "no_such_module"', "cannot be imported"),
        ('"rsi_14"', '"rsi_15"', "no definition of feature 'rsi_15'"),
        ("bundled:sample", "/no/such/prices.csv", "prices.file /no/such/prices.csv is not there"),
        ("window_sessions = 500", "window_sessions = 130", "130 sessions cannot be split"),
        (
            "[[training",
            "[training.walk_forward]\nfolds = 7\ntest_sessions = 63\n[[training",
            "500 sessions cannot be walked through: 7 folds of 63 to test",
        ),
        (
            'name = "ridge"\nparams = { penalties = [0.1] }',
            'name = "xgboost"\nparams = { objective = "reg:luck" }',
            "xgboost refused the parameters {'objective': 'reg:luck'}",
        ),
    ],
)
def test_what_keeps_a_strategy_from_running_is_found_without_running_it(
    tmp_path: Path, before: str, after: str, problem: str
) -> None:
    assert before in GOOD
    strategy = read_strategy(write(tmp_path, GOOD.replace(before, after, 1)))
    with pytest.raises(StrategyError) as caught:
        check_strategy(strategy)
    message = str(caught.value)
    assert message.startswith("strategy mine: ")
    assert message.count("strategy mine: ") == 1
    assert problem in message
    assert "\n" not in message


def test_a_feature_module_that_fails_as_it_is_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "qm_broken_features.py").write_text("1 / 0\n")
    text = GOOD.replace("[features]", '[features]\nmodule = "qm_broken_features"')
    strategy = read_strategy(write(tmp_path, text))
    with pytest.raises(StrategyError, match="'qm_broken_features' cannot be imported: ZeroDiv"):
        check_strategy(strategy)


def test_the_mode_of_the_rules_is_read_and_an_unknown_one_refused(tmp_path: Path) -> None:
    chosen = GOOD + 'mode = "calibrated"\nfalse_alarms_a_year = 2.0\ncooldown_sessions = 3\n'
    config = read_strategy(write(tmp_path, chosen)).alert_config
    assert (config.mode, config.false_alarms_a_year) == ("calibrated", 2.0)
    assert {rule.cooldown_sessions for rule in config.rules()} == {3}
    plain = read_strategy(write(tmp_path, GOOD)).alert_config
    assert (plain.mode, plain.false_alarms_a_year, plain.cooldown_sessions) == ("as_written", 1, 0)
    for line, sentence in (
        (
            'mode = "strict"',
            "key rules.mode: input should be 'as_written', 'gated' or 'calibrated'",
        ),
        ("false_alarms_a_year = 0.0", "key rules.false_alarms_a_year: input should be greater"),
        ("cooldown_sessions = -1", "key rules.cooldown_sessions: input should be greater than or"),
    ):
        with pytest.raises(StrategyError) as caught:
            read_strategy(write(tmp_path, f"{GOOD}{line}\n"))
        assert sentence in str(caught.value)
