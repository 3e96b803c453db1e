-- Run once, when the database server is made; `mlflow` is made by the image itself.
CREATE DATABASE mlflow_auth OWNER mlflow;
CREATE DATABASE optuna OWNER mlflow;
