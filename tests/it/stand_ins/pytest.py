# What docs/testing.md uses of pytest, for machines without it: fixtures by name, and test_* functions of the files given.
import importlib.util
import inspect
import sys
import traceback

FIXTURES = {}


def fixture(function):
    FIXTURES[function.__name__] = function
    return function


def main(files):
    sys.modules["pytest"] = sys.modules[__name__]
    failed = ran = 0
    for file in files:
        spec = importlib.util.spec_from_file_location("under_test", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, function in list(vars(module).items()):
            if name.startswith("test_"):
                ran += 1
                try:
                    function(**{wanted: FIXTURES[wanted]() for wanted in inspect.signature(function).parameters})
                except Exception:
                    failed += 1
                    traceback.print_exc()
    print(f"{ran - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
