"""`python -m tests.campaign --plans 200`: seeded plans of faults against fleets of real processes, one line each.

A plan that fails prints the command that runs it again, and keeps its fleet's logs.
"""

import argparse
import asyncio
import sys
import traceback

from tensorfleet.testing.faults import Plan, Setting
from tests.campaign.campaign import Campaign, lacking, plans


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.campaign", description=__doc__)
    parser.add_argument("--plans", type=int, default=200, help="how many; default 200")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first one's seed; default 0")
    parser.add_argument("--seed", type=int, nargs="+", help="these seeds alone")
    parser.add_argument("--setting", type=Setting, choices=list(Setting), nargs="+", help="of these settings alone")
    return parser.parse_args(given)


async def attempt(campaign: Campaign, plan: Plan) -> bool:
    print(plan, end=" ", flush=True)
    try:
        story = await campaign.run(plan)
    except Exception as error:
        print("FAILED", flush=True)
        traceback.print_exception(error, file=sys.stdout)
        return False
    ending = "trained" if story.trained else "failed by name"
    print(f"· {ending} in {story.seconds:.1f} s · {'; '.join(story.done)}", flush=True)
    return True


async def main() -> int:
    options = arguments()
    seeds = options.seed or range(options.first, options.first + options.plans)
    chosen = [plan for plan in plans(seeds) if not options.setting or plan.setting in options.setting]
    passed = failed = skipped = 0
    async with Campaign() as campaign:
        for plan in chosen:
            if why := lacking(plan.setting):
                skipped += 1
                print(f"{plan} skipped: {why}")
            elif await attempt(campaign, plan):
                passed += 1
            else:
                failed += 1
    print(f"{passed} plans held, {failed} failed, {skipped} were skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
