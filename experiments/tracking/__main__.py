"""`python -m experiments.tracking`: opens MLflow's pages, and looks after what it missed."""

from __future__ import annotations

import argparse
import os
import sys

from experiments.tracking.address import (
    DEFAULT_ARTIFACTS,
    DEFAULT_TRACKING_URI,
    check_tracking_uri,
)
from experiments.tracking.failures import Unavailable
from experiments.tracking.offline import audit, deliver
from experiments.tracking.ui import serve


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.tracking", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, what in (
        ("ui", "open the newest sweep's charts, until Ctrl-C"),
        ("deliver", "send a spool to MLflow"),
        ("audit", "what of a spool was sent, what is stored"),
    ):
        own = verbs.add_parser(verb, help=what, description=what)
        own.add_argument("--tracking-uri", help="another store")
        if verb == "ui":
            own.add_argument("--artifacts", default=DEFAULT_ARTIFACTS, help="folder or URI")
            own.add_argument("--port", type=int, default=5000)
            own.add_argument("--no-browser", action="store_true", help="only say the link")
        else:
            own.add_argument("spool_dir", help="folder that a warning named")
        if verb == "deliver":
            own.add_argument("--from-start", action="store_true", help="send everything again")
    return parser


def main() -> int:
    """Runs a verb; returns 0 if MLflow has everything."""
    args = _parser().parse_args()
    try:
        if args.verb == "ui":
            uri = args.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_TRACKING_URI)
            if problem := check_tracking_uri(uri):
                raise ValueError(problem)
            return serve(uri, args.artifacts, port=args.port, browse=not args.no_browser)
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
