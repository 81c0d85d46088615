"""The descriptor set that grpcurl needs, as TF Serving does not offer reflection."""

# pyright: reportAttributeAccessIssue=false
# (generated protobuf modules define their names at run time)

from google.protobuf import descriptor_pb2

_FIELD = descriptor_pb2.FieldDescriptorProto


def descriptor_set() -> bytes:
    """A serialized `FileDescriptorSet` of TF Serving's prediction and model services and of gRPC's health.

    Returns:
        The set, each file behind those that it imports.
    """
    # Its messages hold TensorFlow's, so TensorFlow is imported; that takes seconds.
    from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for module in (prediction_service_pb2, model_service_pb2):
        _collect(module.DESCRIPTOR, files)
    return descriptor_pb2.FileDescriptorSet(file=[*files.values(), _health()]).SerializeToString(
        deterministic=True
    )


def _collect(file, files: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    for imported in file.dependencies:
        _collect(imported, files)
    if file.name not in files:
        files[file.name] = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(files[file.name])


def _health() -> descriptor_pb2.FileDescriptorProto:
    """The file of grpc.health.v1, which only the extra `serve` installs.

    Reference:
        https://github.com/grpc/grpc/blob/master/doc/health-checking.md
    """
    file = descriptor_pb2.FileDescriptorProto(
        name="grpc/health/v1/health.proto", package="grpc.health.v1", syntax="proto3"
    )
    request = file.message_type.add(name="HealthCheckRequest")
    request.field.add(name="service", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    response = file.message_type.add(name="HealthCheckResponse")
    status = response.enum_type.add(name="ServingStatus")
    for number, name in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        status.value.add(name=name, number=number)
    response.field.add(
        name="status",
        number=1,
        type=_FIELD.TYPE_ENUM,
        label=_FIELD.LABEL_OPTIONAL,
        type_name=".grpc.health.v1.HealthCheckResponse.ServingStatus",
    )
    service = file.service.add(name="Health")
    for name, streams in (("Check", False), ("Watch", True)):
        service.method.add(
            name=name,
            input_type=".grpc.health.v1.HealthCheckRequest",
            output_type=".grpc.health.v1.HealthCheckResponse",
            server_streaming=streams,
        )
    return file
