"""What is known is not computed again: task by task, by content."""

from tensorfleet import AsyncClient


async def test_a_known_job_trains_nothing(client: AsyncClient) -> None:
    first = await client.train("wine", algorithm="random_forest", hyperparameters={"n_estimators": 20})
    model = await first.result()
    again = await client.train("wine", algorithm="random_forest", hyperparameters={"n_estimators": "20"})
    assert (await again.result()).sha256 == model.sha256
    assert (again.tasks.run, again.tasks.reused) == (0, first.tasks.total)


async def test_more_trees_train_the_new_ones_and_at_most_one_old_range(client: AsyncClient) -> None:
    counts = {}
    for trees in (22, 52):
        job = await client.train("wine", algorithm="random_forest", hyperparameters={"n_estimators": trees})
        await job.result()
        tasks = [task for task in await client.jobs.tasks(job.id) if task.stage == "fit"]
        counts[trees] = len(tasks), sum(task.reused for task in tasks)
    ranges, reused = counts[52]
    assert reused >= counts[22][0] - 1
    assert reused > 0
    assert ranges > counts[22][0]


async def test_it_can_be_asked_to_train_anew(client: AsyncClient) -> None:
    first = await (await client.train("wine", algorithm="decision_tree")).result()
    anew = await client.train("wine", algorithm="decision_tree", ignore_known_results=True)
    assert (await anew.result()).sha256 == first.sha256
    assert anew.tasks.reused == 0
