"""Everything that TF Serving needs to run an export: configuration, Compose, Kubernetes, alerts, examples.

    exported.py         what the newest versions of an export say of themselves
    plan.py             the operator's choices, checked against the export
    sizing.py           memory, threads and times, computed from the weights
    sample_requests.py  curl and grpcurl lines, from the requests the export was tested with
    protoset.py         the messages of TF Serving's services, for grpcurl
    rendering.py        templates/ with the values of the plan
    writing.py          the folder, whole or not at all

`templates/` holds the files as an operator will read them: the comments in them say why a setting is there.
"""
