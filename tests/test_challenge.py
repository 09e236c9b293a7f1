"""The challenge: what a training shows, what it costs, and who wins."""

import pytest

import proxyless_lite as pl
from proxyless_lite import ground_truth
from proxyless_lite.course.challenge import Challenge, Scoreboard

LIMIT = 400_000


@pytest.fixture
def truth():
    return ground_truth.load("cifar10"), ground_truth.read(ground_truth.FOLDER / "cifar10.csv")


def within(challenge):
    codes = challenge.table.index[challenge.table.macs <= LIMIT]
    return [pl.Architecture.from_code(challenge.space, code) for code in codes]


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_a_training_shows_one_run_and_the_board_the_others(truth, seed, tmp_path):
    table, runs = truth
    challenge = Challenge(LIMIT, board=tmp_path / "board.csv", seed=seed)
    networks = within(challenge)
    for network in networks:
        own = runs[runs.network == network.code].set_index("seed").accuracy
        assert challenge.train(network) == own[seed % 3]
    board = challenge.submit("all", challenge.best)
    assert challenge.best.code == max(networks, key=lambda n: runs[(runs.network == n.code) & (runs.seed == seed % 3)].accuracy.item()).code
    judged = runs[(runs.seed != seed % 3) & runs.network.isin([n.code for n in networks])].groupby("network").accuracy.mean()
    assert board.accuracy.item() == pytest.approx(judged[challenge.best.code], abs=5e-5)
    assert board.regret.item() == pytest.approx(judged.max() - judged[challenge.best.code], abs=5e-5)
    assert board.trainings.item() == len(networks) + 1 and board.macs.item() == table.macs[challenge.best.code] <= LIMIT


def test_trainings_of_a_team_add_up_and_the_better_team_stands_first(tmp_path):
    challenge = Challenge(LIMIT, board=tmp_path / "board.csv")
    order = sorted(within(challenge), key=lambda network: challenge.judged[network.code])
    challenge.train(order[0])
    challenge.train(order[0].choices)  # asked again: free
    challenge.submit("slow", order[0])
    other = Challenge(LIMIT, board=tmp_path / "board.csv")
    board = other.submit("quick", order[-1])
    assert board.team.tolist() == ["quick", "slow"] and board.trainings.tolist() == [1, 2] and board.regret[0] == 0
    again = Challenge(LIMIT, board=tmp_path / "board.csv").submit("slow", order[-1])
    assert again.team.tolist() == ["quick", "slow", "slow"] and again.trainings.tolist() == [1, 3, 2], "of equal ones the cheapest first"
    later = Challenge(LIMIT, board=tmp_path / "board.csv")  # a kernel that was started again
    for network in order[:4]:
        later.train(network)
    assert later.submit("slow", order[-1]).trainings.max() == 3 + 4 + 1 and later.submit("slow", order[-1]).trainings.max() == 3 + 4 + 2
    assert len(Scoreboard.read(tmp_path / "board.csv")) == 5


def test_any_name_is_a_team_and_an_entry_that_could_not_be_written_costs_nothing(tmp_path):
    challenge = Challenge(LIMIT, board=tmp_path / "board.csv")
    network = within(challenge)[0]
    challenge.submit(3, network)
    assert challenge.submit("# 1 team", network).team.tolist() == ["3", "# 1 team"]
    board = Scoreboard(tmp_path / "board.csv", {"setting": {"table": "cifar10", "macs": LIMIT}, "digest": challenge.table.attrs["digest"]})
    for _ in range(2):
        with pytest.raises(ValueError, match="being built by another process"):
            challenge.submit(3, network)
    board.close()
    trainings = challenge.submit(3, network).query("team == '3'").trainings
    assert sorted(trainings) == [1, 3]  # its own entries, and the one of the other team in this kernel


def test_codes_that_are_one_network_are_trained_once():
    challenge = Challenge(LIMIT)
    for choices in (("Zero", "conv 3x3", "Zero", "Zero"), ("conv 3x3", "Zero", "Zero", "Zero")):
        challenge.train(choices)
    assert len(challenge.known) == 1


@pytest.mark.parametrize("act, told", [
    (lambda one: Challenge(10), "no network has at most 10 MACs; they have from"),
    (lambda one: one.train(("MB7 1x1",) * 4), "MACs; the limit is 400,000"),
    (lambda one: one.train(("conv 3x3",)), "4"),
    (lambda one: one.train(pl.Architecture(pl.spaces.chain(edges=2), ("Zero", "Zero"))), "the challenge is about"),
    (lambda one: one.best, "nothing has been trained yet")])
def test_what_is_not_allowed_is_said_in_one_line(act, told):
    with pytest.raises(ValueError, match=told) as caught:
        act(Challenge(LIMIT))
    assert "\n" not in str(caught.value)


def test_a_board_of_another_limit_is_refused(tmp_path):
    challenge = Challenge(LIMIT, board=tmp_path / "board.csv")
    challenge.submit("one", within(challenge)[0])
    with pytest.raises(ValueError, match="another"):
        Challenge(LIMIT + 1, board=tmp_path / "board.csv").submit("one", within(challenge)[0])
