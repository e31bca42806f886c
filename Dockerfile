# The page:     docker run --rm -p 7860:7860 terraformer-summarizer
# The command:  docker run --rm -v "$PWD:/data:ro" terraformer-summarizer summarize /data/paper.pdf
FROM python:3.11-slim

# An index with PyTorch's CPU builds, given with --build-arg, makes the image several GB smaller.
ARG PIP_EXTRA_INDEX_URL

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    HF_HUB_OFFLINE=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    GRADIO_ANALYTICS_ENABLED=False

WORKDIR /opt/summarizer
# A layer of its own: the largest package changes least.
RUN pip install "torch>=2.11,<2.14"
COPY . .
RUN pip install -e .

RUN useradd --create-home reader
USER reader
WORKDIR /home/reader
EXPOSE 7860
CMD ["python", "-m", "app.ui", "--host", "0.0.0.0"]
