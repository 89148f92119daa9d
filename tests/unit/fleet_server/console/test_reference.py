from fleet_server.console.reference import Operation, rooms

OPENAPI = {
    "paths": {
        "/api/v1/units": {"get": {"tags": ["registry"], "description": "List units by path.\n\nMore."}},
        "/api/v1/nodes": {"post": {"tags": ["registry"], "description": "Make a node known."}},
        "/healthz": {"get": {"tags": ["health"]}},
    }
}


def test_operations_stand_in_their_rooms_with_one_sentence_each() -> None:
    assert rooms(OPENAPI) == [
        (
            "registry",
            [
                Operation("registry", "GET", "/api/v1/units", "List units by path."),
                Operation("registry", "POST", "/api/v1/nodes", "Make a node known."),
            ],
        ),
        ("health", [Operation("health", "GET", "/healthz", "")]),
    ]
