# Not built yet: see CONTRIBUTING.md.
#   docker build -t octavo .                          .tflite models, without TensorFlow
#   docker build -t octavo --build-arg EXTRAS='[train]' .   also .keras models and training
#   docker run --rm -v "$PWD:/work" octavo quantize float.tflite --data photos/ -o model_int8.tflite
FROM python:3.12-slim
ARG EXTRAS=
COPY . /octavo
RUN pip install --no-cache-dir "/octavo${EXTRAS}" && useradd --create-home octavo
USER octavo
WORKDIR /work
ENTRYPOINT ["octavo"]
