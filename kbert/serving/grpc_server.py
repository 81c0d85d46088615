"""gRPC on a socket: the services, gRPC's health, certificates, and the end."""

# pyright: reportAttributeAccessIssue=false
# (generated protobuf modules define their names at run time)

from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from kbert.errors import InputError
from kbert.serving.certificates import read_certificate
from kbert.serving.grpc_service import add_services
from kbert.serving.service import Service

#: Threads beside those of requests that run or wait: for status, metadata and health.
SPARE_THREADS = 16

#: The services whose health TF Serving reports; "" is the server as a whole.
HEALTH_SERVICES = ("", "PredictionService", "ModelService")


class GrpcServer:
    """The gRPC services, listening from construction on.

    Args:
        service: The served models.

    Raises:
        InputError: The port cannot be bound, or a certificate cannot be read.
    """

    def __init__(self, service: Service):
        options = service.options
        settings = [
            ("grpc.max_receive_message_length", options.max_request_bytes),
            ("grpc.max_send_message_length", -1),
            # With port sharing, gRPC's default, a second server on a used port would start without complaint.
            ("grpc.so_reuseport", 0),
        ]
        # Requests that wait for their turn wait in a thread; beyond them gRPC refuses by itself.
        places = options.num_running + options.max_waiting + SPARE_THREADS
        self._threads = ThreadPoolExecutor(places, "grpc")
        self._server = grpc.server(self._threads, options=settings, maximum_concurrent_rpcs=places)
        self._health = health.HealthServicer()
        add_services(service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = self._bind(service)

    def _bind(self, service: Service) -> int:
        options = service.options
        address = f"{options.host}:{options.grpc_port}"
        certificate = read_certificate(options)
        try:
            if certificate is None:
                port = self._server.add_insecure_port(address)
            else:
                credentials = grpc.ssl_server_credentials(
                    [(certificate.key, certificate.chain)],
                    certificate.client_authorities,
                    require_client_auth=certificate.client_authorities is not None,
                )
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError:
            port = 0
        if port == 0:
            raise InputError(
                f"{address}: cannot listen for gRPC; the port is in use or the address is not ours"
            )
        return port

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()
        for name in HEALTH_SERVICES:
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace_seconds: float) -> None:
        """Reports itself unhealthy, refuses new calls and waits for those that run or wait.

        Args:
            grace_seconds: How long calls may still take.
        """
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_seconds).wait()
        self._threads.shutdown()
