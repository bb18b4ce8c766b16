"""Checks the CycloneDX files given against the standard's JSON schema, strictly. Prints how many there were."""

import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

validator = JsonStrictValidator(SchemaVersion.V1_6)
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        problem = validator.validate_str(file.read())
    if problem:
        sys.exit(f"{path}: {problem}")
print(len(sys.argv) - 1)
