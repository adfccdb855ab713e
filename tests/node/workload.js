// SPDX-License-Identifier: Apache-2.0
// Writers with the Node driver's default options, which run until standard input ends; see
// tests/lib/workload.py.  Each line on standard output is one write: its writer, what it was
// (insert or increment), its key, and whether it was acknowledged.
'use strict';
const { MongoClient } = require('mongodb');

async function write(client, database, number, running) {
    const items = client.db(database).collection('items');
    const counters = client.db(database).collection('counters');
    const tell = (kind, key, error) => process.stdout.write(`${JSON.stringify(
        { writer: number, kind, key, acknowledged: !error, error: error && String(error) })}\n`);
    for (let n = 1; running.is; ++n) {
        const key = `${number}-${n}`;
        try {
            await items.insertOne({ _id: key, writer: number, n });
            tell('insert', key);
        } catch (error) {
            tell('insert', key, error);
            continue;
        }
        try {
            await counters.updateOne({ _id: number }, { $inc: { count: 1 } }, { upsert: true });
            tell('increment', key);
        } catch (error) {
            tell('increment', key, error);
        }
    }
}

async function main(uri, database, writers) {
    const client = await MongoClient.connect(uri);
    const running = { is: true };
    process.stdin.on('end', () => { running.is = false; }).resume();
    await Promise.all(Array.from({ length: writers }, (_, number) =>
        write(client, database, number, running)));
    await client.close();
}

main(process.argv[2], process.argv[3], Number(process.argv[4])).catch((error) => {
    console.error(error);
    process.exit(1);
});
