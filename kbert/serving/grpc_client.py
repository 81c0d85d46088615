"""The client over gRPC by an address without a scheme."""

from kbert.serving.client import Client


class GrpcClient(Client):
    """`Client` at `grpc://address`; the other arguments are the same."""

    def __init__(self, address: str, model: str, **options):
        super().__init__(f"grpc://{address}", model, **options)
