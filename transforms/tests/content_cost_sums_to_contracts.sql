-- What is over is in the months to the minor unit; of what goes on, as much as its days that are over.
with contracts as (

    select
        title_id,
        currency,
        sum(
            case
                when until_date <= over_until then amount_minor
                else {{ whole_division(
                    'amount_minor * (' ~ day_number('over_until') ~ ' - ' ~ day_number('from_date') ~ ')',
                    day_number('until_date') ~ ' - ' ~ day_number('from_date')
                ) }}
            end
        ) as due_minor
    from {{ ref('stg_title_costs') }}
    inner join (
        select cast(max(month) + interval '1' month as date) as over_until from {{ ref('dim_date') }}
    ) as months on from_date < over_until
    group by title_id, currency

),

costs as (

    select
        title_id,
        currency,
        sum(cost_minor) as cost_minor
    from {{ ref('mart_content_cost') }}
    group by title_id, currency

)

select *
from contracts
full outer join costs using (title_id, currency)
where due_minor is distinct from cost_minor
