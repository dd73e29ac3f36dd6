"""A worker for python-task.yaml: claims tasks, keeps its claim while it works, answers. Standard library only."""

import json, os, socket, threading, time, urllib.error, urllib.request

URL = os.environ.get("WINDLASS_URL", "http://127.0.0.1:7400").rstrip("/") + "/api/v1"
HEADERS = {"Authorization": "Bearer " + os.environ["WINDLASS_TOKEN"], "Content-Type": "application/json"}
WORKER = f"{socket.gethostname()}-{os.getpid()}"


def call(path, body):
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), HEADERS, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or "null")


def keep(task, done):
    while not done.wait(3):
        call(f"/tasks/{task['id']}/heartbeat", {"token": task["token"]})


def work(task):
    done = threading.Event()
    threading.Thread(target=keep, args=(task, done), daemon=True).start()
    try:
        output = {"words": len(task["input"]["text"].split()), "worker": WORKER}
        call(f"/tasks/{task['id']}/complete", {"token": task["token"], "output": output})
    except (KeyError, TypeError, AttributeError) as error:
        reason = {"class": "user", "code": "bad_input", "message": repr(error)}
        call(f"/tasks/{task['id']}/fail", {"token": task["token"], "error": reason})
    finally:
        done.set()


while True:
    try:
        for task in call("/tasks/claim", {"queues": ["words"], "worker": WORKER, "max": 10, "wait": "20s"})["tasks"]:
            work(task)
    except (urllib.error.URLError, OSError) as error:
        print("waiting for the server:", error, flush=True)
        time.sleep(1)
