{{ config(materialized='view') }}

with receipts as (

    select * from {{ ref('stg_events') }}

),

repeated as (

    select * from {{ ref('int_event_repeated') }}
    where place = 1

),

-- Few events come more than once: the receipts of all others are read where they lie.
final as (

    select
        {% for column in event_columns() %}
        {{ 'cast(receipts.event_id as ' ~ dbt.type_string() ~ ') as event_id' if column == 'event_id' else 'receipts.' ~ column }}{{ "," if not loop.last }}
        {% endfor %}
    from receipts
    left join repeated on receipts.event_id = repeated.event_id
    where repeated.event_id is null
    union all
    select
        {% for column in event_columns() %}
        {{ 'cast(event_id as ' ~ dbt.type_string() ~ ') as event_id' if column == 'event_id' else column }}{{ "," if not loop.last }}
        {% endfor %}
    from repeated

)

select * from final
