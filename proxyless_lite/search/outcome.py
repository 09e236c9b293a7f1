"""What a finished search writes into its run folder, and tells."""

import pandas as pd

from .. import latency, runtime
from ..choose import found_and_cheaper


def report_front(networks, costs, targets, candidates, out):
    """Write the network of each target, and the table of all; print it."""
    rows = []
    for target, network in zip(targets, networks):
        file = f"architecture-{target:.12g}.json"
        network.save(out / file)
        row = {"target": target, "cost": costs.cost_of(network), "params": network.params(), "macs": network.macs(), "file": file}
        for step, looked_at in candidates[candidates.network == network.code].groupby("step"):
            row[f"{step}_accuracy"] = looked_at.accuracy.item()
        rows.append(row)
    front = pd.DataFrame(rows)
    front.to_csv(out / "front.csv", index=False)
    print(f"\n{front.to_string(index=False)}\ncosts in {costs.unit}; accuracies of validation images; written to {out}")


def keep_limit(search, found, table, out):
    """The first of the found network and cheaper ones that keeps the limit on latency when it is measured.

    Raises ValueError where none does; the found network is written then, as unverified.json.
    """
    costs, most = min((limit for limit in search.limits.limits if limit[0].unit == "ms"), key=lambda limit: limit[1])
    networks = found_and_cheaper(search.net, found, search.limits, costs)
    if latency.is_of_this_machine(table):
        try:
            network, measured = latency.first_within(networks, most, table)
        except ValueError as error:
            found.save(out / "unverified.json")
            raise ValueError(f"{error}; the network that the search found is in {out / 'unverified.json'}") from None
        print(f"\nmeasured for the limit of {most:.6g} ms:\n{measured.to_string(index=False, float_format='%.4g')}")
        return network
    for stale in out.glob("cheaper-[1-9].json"):  # of another limit
        stale.unlink()
    files = [out / "architecture.json", *(out / f"cheaper-{i}.json" for i in range(1, len(networks)))]
    for network, file in zip(networks, files):
        save(network, file)
    print(f"the table is of another device; to measure there: proxyless-latency kit --networks {' '.join(map(str, files))} --out {out / 'check'}")
    return found


def save(network, file):
    """Save a network; another one that is there, found for other limits, is kept next to it."""
    if file.exists() and file.read_bytes() != network.to_json():
        file.replace(kept := file.with_suffix(".previous.json"))
        print(f"{file} held another network; it is kept as {kept}")
    network.save(file)


def report(search, result, out, source):
    """Write and print the result: with a target, the most probable network that costs it."""
    network = result.architecture
    save(network, out / "architecture.json")
    result.history.drop(columns="probabilities").to_csv(out / "history.csv", index=False)
    print(f"\n{network}\n{network.params():,} params, {network.macs():,} MACs, "
          f"searched in {runtime.clock(result.seconds)}; written to {out / 'architecture.json'}")
    if search.cost_objective:
        costs, target = search.cost_objective.costs, search.cost_objective.target
        told = f", target {target:.4g}, most probable paths {costs.cost_of(result.most_probable):.4g}" if target else ""
        print(f"cost {costs.cost_of(network):.4g} {costs.unit}{told}, by {source or costs.unit}")
    for costs, most in search.limits.limits if search.limits else ():
        print(f"limit {most:,.6g} {costs.unit}: the network has {costs.cost_of(network):,.6g}")
