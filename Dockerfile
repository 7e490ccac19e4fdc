FROM python:3.13-slim AS packages
COPY requirements.txt /tmp/
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt

FROM python:3.13-slim
# pg_dump and pg_restore, of the database's release or newer, are what backups are made with.
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*
# A new volume takes the rights of the folder in the image.
RUN mkdir /backups && useradd --system --uid 10001 --create-home --home-dir /data panel \
    && chown panel /backups
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
CMD ["gunicorn", "--bind=0.0.0.0:8000", "--workers=2", "--threads=8", "--preload", "panel.wsgi"]
