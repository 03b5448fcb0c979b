"""Run all checks of `infra/`; print what is wrong and what could not be checked."""

import sys

from tools.check_infra import commands, files, manifests, monitoring


def main() -> int:
    """Print the problems. Returns the exit status."""
    objects, skipped = manifests.build_all()
    problems = [
        *files.problems(),
        *manifests.problems(objects),
        *commands.problems(objects),
        *monitoring.problems(),
    ]
    for problem in problems:
        print(problem)
    for reason in skipped:
        print(f"not checked: {reason}")
    total = sum(map(len, objects.values()))
    print(f"infra: {total} Kubernetes objects, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
