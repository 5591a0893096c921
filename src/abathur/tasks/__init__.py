"""Tasks: enqueue, dependencies, claims, settling; as `db.tasks`, and as scripts to compose.

An application's own script can make tasks in its own transaction::

    def order(order_id, task, now):
        yield Statement("shop.add_order", id=order_id)
        (made,) = yield from tasks.enqueue([task], now)
        return made

    await db.run(order, 17, tasks.new_task("Pack order 17", agent_type="packer"))
"""

from abathur.tasks.api import Tasks
from abathur.tasks.new import NewTask, new_task
from abathur.tasks.settle import complete
from abathur.tasks.submit import enqueue

__all__ = ["NewTask", "Tasks", "complete", "enqueue", "new_task"]
