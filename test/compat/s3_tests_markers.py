"""Writes each test's markers into the report (--junitxml), where s3_tests.ts counts by them."""


def pytest_collection_modifyitems(items):
    for item in items:
        for marker in item.iter_markers():
            item.user_properties.append(("marker", marker.name))
