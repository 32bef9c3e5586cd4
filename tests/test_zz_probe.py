import asyncio, time, cProfile, pstats
import pytest
from conftest import uploader_on, some_bytes
from suspensions import Suspensions
from aioframeio_upload import *
from aioframeio_upload.testing import FakeFrameio, Fault

async def test_probe(make_file):
    p = make_file(600_000)
    async with FakeFrameio(rate_limits=False, part_size=300_000) as fake:
        for k in (20, 20, 20, 20, 20, 20):
            s = Suspensions(k)
            t=time.perf_counter()
            c=time.process_time()
            if k == 21: 
                pr=cProfile.Profile(); pr.enable()
            with s.counted():
                async with uploader_on(fake) as u:
                    up = u.upload(p, folder_id=fake.folder_id)
                    s.act = up.cancel
                    try:
                        await up
                    except UploadCancelled as e: pass
            print(k, s.count, time.perf_counter()-t, time.process_time()-c, len(s.tasks), len(fake.files), len(fake.deleted))
