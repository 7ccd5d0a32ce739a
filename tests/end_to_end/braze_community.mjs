// The journey of one person through the npm package braze-api: track, export, identify, merge, delete.
// Reads {"url", "key", "step"} as its argument, answers JSON on its standard output.
import { createRequire } from 'node:module';

const { Braze } = createRequire(`${process.cwd()}/`)('braze-api');
const { url, key, step } = JSON.parse(process.argv[2]);
const braze = new Braze(url, key);
const alias = { alias_name: 'visitor-1', alias_label: 'web' };
const fields = ['external_id', 'email', 'custom_attributes', 'custom_events', 'purchases', 'user_aliases'];
const time = '2026-01-01T00:00:00Z';

const steps = {
  track: () =>
    braze.users.track({
      attributes: [
        { user_alias: alias, _update_existing_only: false, plan: 'pro' },
        { external_id: 'ann', email: 'ann@example.com' },
        { external_id: 'old-ann', city: 'Paris' },
        { external_id: 'nobody', email_subscribe: 'perhaps' },
      ],
      events: [{ external_id: 'old-ann', name: 'opened', time }],
      purchases: [{ external_id: 'ann', product_id: 'sku', currency: 'USD', price: 9.5, time }],
    }),
  export: () => braze.users.export.ids({ external_ids: ['ann', 'old-ann'], user_aliases: [alias], fields_to_export: fields }),
  identify: () => braze.users.identify({ aliases_to_identify: [{ external_id: 'ann', user_alias: alias }] }),
  merge: () =>
    braze.users.merge({
      merge_updates: [{ identifier_to_merge: { external_id: 'old-ann' }, identifier_to_keep: { external_id: 'ann' } }],
    }),
  delete: () => braze.users.delete({ external_ids: ['ann'] }),
};
try {
  console.log(JSON.stringify({ answer: await steps[step]() }));
} catch (error) {
  console.log(JSON.stringify({ refused: error.status ?? null, message: error.message, errors: error.errors ?? null }));
}
