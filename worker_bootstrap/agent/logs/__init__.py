"""An attempt's log on its way: container -> keeper (process) -> spool (disk) -> shipper (agent) -> tail and store.

keeper = KeeperClient(directory, limit=bytes, first_seq=1)   # keeper_client
keeper.spawn(); keeper.mask(secrets); keeper.attach(handle.id, runtime.docker_url); runtime.start(handle)
keeper.status("sentence"); after the container's end: keeper.drain(10); last = keeper.finish(10)
keeper.alive() is False: spawn, mask, attach again (the gap is marked); keeper.release() before a kill

shipper = Shipper(directory, tail=RedisTail(...), upload=upload, emit=emit)   # shipper, tail, types
shipper.start(); shipper.last_output(); after keeper.finish: shipper.finish(timeout); shipper.stop()
"""
