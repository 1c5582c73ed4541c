"""`python -m experiments.tracking deliver DIR` and `... audit DIR`."""

from __future__ import annotations

import argparse
import sys

from experiments.tracking.failures import Unavailable
from experiments.tracking.offline import audit, deliver


def main() -> int:
    """Runs a verb; returns 0 if MLflow has everything."""
    parser = argparse.ArgumentParser(prog="python -m experiments.tracking", description=__doc__)
    parser.add_argument("verb", choices=["deliver", "audit"])
    parser.add_argument("spool_dir", help="folder that a warning named")
    parser.add_argument("--tracking-uri", help="another store than the sweep's own")
    parser.add_argument("--from-start", action="store_true", help="send everything again")
    args = parser.parse_args()
    try:
        if args.verb == "audit":
            result = audit(args.spool_dir, tracking_uri=args.tracking_uri)
            print(
                f"{result.num_spooled} points in the spool, {result.num_sent} sent, "
                f"{result.num_stored} stored, {result.num_missing} missing, "
                f"{result.num_repeated} stored more than once."
            )
            return 0 if result.complete else 1
        report = deliver(args.spool_dir, tracking_uri=args.tracking_uri, from_start=args.from_start)
    except (ValueError, Unavailable) as error:
        print(f"{error}", file=sys.stderr)
        return 2
    left = f"; {report.num_points_left} are left ({report.reason})" if report.reason else ""
    print(f"{report.num_points_sent} points delivered, {report.num_refused} refused{left}.")
    return 1 if report.reason else 0


if __name__ == "__main__":
    sys.exit(main())
