# The server on a CPU, without compiler, tests or training data. Build: docker build -t show-and-tell .
# Run:   docker run --rm -p 8000:8000 --read-only --tmpfs /tmp show-and-tell
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY model model
COPY training training
COPY server server
COPY static static
RUN python -m venv /opt/show-and-tell && \
    /opt/show-and-tell/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home showtell
COPY --from=build /opt/show-and-tell /opt/show-and-tell
ENV PATH=/opt/show-and-tell/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 SHOWTELL_HOST=0.0.0.0
USER showtell
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["showtell-serve"]
