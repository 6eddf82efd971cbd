"""An attempt's log on its way: container -> keeper (process) -> spool (disk) -> shipper (agent) -> tail and store.

keeper = KeeperClient(directory, limit=bytes, first_seq=1)   # keeper_client.py
keeper.spawn(); keeper.mask([...]); keeper.attach(container_id, engine_url); runtime.start(handle)
keeper.status("sentence"); keeper.drain(timeout) -> bool; keeper.finish(timeout) -> last seq
keeper.alive(): False -> spawn, mask and attach again (the gap is marked); keeper.release() before a kill

shipper = Shipper(directory, tail=TailWriter, upload=Upload, emit=Emit, policy=LogPolicy())  # shipper.py
shipper.start(); shipper.last_output(); shipper.finish(timeout) -> Shipped | None; shipper.stop()
"""
