FROM python:3.13-slim AS packages
COPY requirements.txt /tmp/
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt

FROM python:3.13-slim
RUN useradd --system --uid 10001 --create-home --home-dir /data panel
COPY --from=packages /venv /venv
COPY --chown=root:root . /panel
WORKDIR /panel
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VAR_DIR=/data \
    STATIC_ROOT=/static
# The files the web server sends and the compiled translations are part of the image; nothing but
# /data is written later.
RUN VAR_DIR=/tmp/build python manage.py compile_translations \
    && VAR_DIR=/tmp/build python manage.py collectstatic --no-input \
    && rm -rf /tmp/build \
    && chmod -R a+rX /panel /static
USER panel
VOLUME /data
EXPOSE 8000
CMD ["gunicorn", "--bind=0.0.0.0:8000", "--workers=2", "--threads=8", "--access-logfile=-", "panel.wsgi"]
